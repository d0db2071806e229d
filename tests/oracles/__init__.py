"""Cases and expected values that others wrote, mapped to our call."""
