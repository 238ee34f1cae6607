"""Networks: students that learn quickly, teachers that are expensive and right."""
