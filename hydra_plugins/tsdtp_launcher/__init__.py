"""Hydra finds launchers and sweepers in `hydra_plugins` alone; ours are thin shells of `tsdtp`."""
