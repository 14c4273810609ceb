"""`MIB`: the unit of settings whose names end in `_mib`, in bytes."""

MIB = 2**20
