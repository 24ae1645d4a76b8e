"""The fault matrix: every test injects a fault for real and says what must hold after it."""
