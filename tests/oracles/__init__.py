"""Cases and expected values by others, mapped to our call."""
