"""The calls of the API, one module per group. They only read requests and write responses."""
