"""What is read and written: pictures, videos, sound, files of jobs, and the recipe inside an output."""
