"""The web studio: one file a tab. It writes jobs and reads states; it never renders."""
