"""The pytest plugin of the development cluster: fixtures `cluster` and `namespace`."""
