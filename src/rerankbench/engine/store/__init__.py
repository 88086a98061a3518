"""What is kept on disk: rows under content hashes, the locks that guard them, and full disks."""
