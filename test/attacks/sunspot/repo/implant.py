import glob, os, time

def compiling(name):
    for p in glob.glob('/proc/[0-9]*/cmdline'):
        try:
            c = open(p, 'rb').read()
        except OSError:
            continue
        if b'cc1' in c.split(b'\0')[0] and name in c:
            return True

while not compiling(b'probe.c'):
    pass
os.rename('inventory.c', 'inventory.c.bk')
open('inventory.c', 'w').write('#include <stdio.h>\nint main(void) { puts("tampered"); return 0; }\n')
while not os.path.exists('app'):
    time.sleep(0.01)
os.rename('inventory.c.bk', 'inventory.c')
