"""A local Asana that speaks real HTTP."""
