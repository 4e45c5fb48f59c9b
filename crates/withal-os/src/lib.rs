//! What the operating system lends, as context managers: atomic files, temporary directories, file locks, redirection, chdir.
