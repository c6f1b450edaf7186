from ._runtime import start
