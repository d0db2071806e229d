"""Everything public, given every wrong value: it works, or a RegardError names the parameter."""
