"""The ASGI application: routes, schemas, middleware, error documents."""
