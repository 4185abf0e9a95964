"""The one process that wires everything together: application, pool, engine, storage, HTTP."""
