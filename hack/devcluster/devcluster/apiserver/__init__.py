"""The API server of the development cluster: REST, watches, CustomResourceDefinitions, discovery, over `devcluster.storage`."""
