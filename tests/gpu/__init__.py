"""What has to hold on a GPU: `pytest --require-gpu tests/gpu`. The same tests run on stand-ins without one."""
