"""The development cluster's API server: REST, watches, CustomResourceDefinitions, discovery, over `devcluster.storage`."""
