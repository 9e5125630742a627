"""Results as drawings, videos, and files that people and annotation tools read."""
