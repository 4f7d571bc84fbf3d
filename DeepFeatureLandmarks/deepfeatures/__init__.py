"""Find landmarks of a template volume in other volumes by deep feature matching."""
