"""How blocks come about: the interfaces of application and engine, and the engines. Blind to models and training."""
