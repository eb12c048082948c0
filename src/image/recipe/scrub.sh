# A machine gets its id at its first boot; two machines of one image must not share it.
[ ! -s /etc/machine-id ] || : >/etc/machine-id
