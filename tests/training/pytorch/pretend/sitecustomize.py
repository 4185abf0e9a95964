"""Python imports this when it starts, if its folder is on the path: every process then has the pretend device."""

import pretend_accelerator

pretend_accelerator.install()
