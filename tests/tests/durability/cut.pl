# Tells the file system of a directory to take and write nothing any more, without flushing its journal
# (FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH). What is acknowledged behind the first line may be
# so by a disk that is no more, and what begins behind the second reaches no disk. They are close
# together, or too much would be in doubt.
sysopen(my $directory, $ARGV[0], 0) or exit 77;
my $how = pack("I", 2);
# The harness of the program may be in the middle of a line.
syswrite(STDOUT, "\ncutting\n");
ioctl($directory, 0x8004587D, $how) or exit 77;
syswrite(STDOUT, "cut\n");
