#!/bin/sh
# Makes an authority and a certificate for development, once, in the directory that is given: ca.crt is what a browser or
# `curl --cacert` may be told to trust.
set -eu
cd "$1"
if [ -s hub.crt ] && openssl x509 -in hub.crt -noout -checkend 86400 >/dev/null; then
    exit 0
fi
umask 022
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 365 -subj '/CN=Rivulet development' \
    -addext 'keyUsage=critical,keyCertSign' -keyout ca.key -out ca.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj /CN=localhost -keyout hub.key -out hub.csr
printf 'subjectAltName=DNS:localhost,DNS:nginx,DNS:haproxy,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n' >hub.ext
openssl x509 -req -in hub.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile hub.ext -out hub.new
# The authority signs nothing else. The other key is read by proxies, each under a user of its own.
rm -f ca.key ca.srl hub.csr hub.ext
chmod 644 hub.key
mv hub.new hub.crt
