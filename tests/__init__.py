"""The tests mirror `src/regard`; tables that several of them share are imported from here."""
