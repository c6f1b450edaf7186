from setuptools import Extension, setup
setup(name='fastlib', version='1.0', py_modules=['fastlib'], ext_modules=[Extension('_fastlib', ['fast.c'], py_limited_api=False)])
