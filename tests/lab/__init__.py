"""The lab: simulated Raspberry Pis for Molecule, the tests and the demo. No role knows of it."""
