/**
 * What a lab node has in place of systemd, for pages that speak to it: `systemctl restart` of what the node supervises, and the
 * file that skepd's unit reads its environment from.
 */

/** As `systemctl restart`: returns when the next process of the unit has started. */
const systemctl = `#!/bin/bash
[ "$1" = restart ] || { echo "systemctl: a lab node restarts units and nothing else" >&2; exit 1; }
shift
for unit; do
  file=/run/lab/pid/\${unit%.service}
  former=$(cat "$file") && kill "$former" || exit 1
  for ((tries = 300; tries > 0; tries--)); do
    now=$(cat "$file" 2>/dev/null) && [ "$now" != "$former" ] && break
    sleep 0.1
  done
  [ "$tries" -gt 0 ] || { echo "systemctl: $unit does not start" >&2; exit 1; }
done
`;

/** Makes it so on a node, on its disk: it stays over a power cut. */
export const systemdScript = `set -e
cat >/usr/local/sbin/systemctl <<'END OF SCRIPT'
${systemctl}END OF SCRIPT
chmod 755 /usr/local/sbin/systemctl
mkdir -p /etc/default /etc/skep
ln -sfn /run/lab/disk/skepd.env /etc/default/skepd
touch /run/lab/disk/skepd.env
`;
