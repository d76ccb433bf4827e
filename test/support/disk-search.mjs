/**
 * Looks for secrets in files: reads from its standard input {"directories": [...], "needles": {name: base64}} and writes
 * {"files": count, "bytes": count, "found": ["path: name, form"]}. A needle is found as its octets, in hex, and in base64 however it
 * is aligned there. Runs in a node of a lab, on whatever is on its disk.
 */
import { Buffer } from 'node:buffer';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const { directories, needles } = JSON.parse(readFileSync(0, 'utf8'));

/** The digits that stand for the octets alone, when `before` octets of something else precede them in a group of three. */
function digits(octets, before) {
  const text = Buffer.concat([Buffer.alloc(before), octets])
    .toString('base64')
    .replace(/=+$/, '');
  const begin = Math.ceil((before * 8) / 6);
  const end = Math.floor(((before + octets.length) * 8) / 6);
  return Buffer.from(text.slice(begin, end));
}

const forms = Object.entries(needles).flatMap(([name, base64]) => {
  const octets = Buffer.from(base64, 'base64');
  return [
    { what: `${name}, as it is`, bytes: octets },
    { what: `${name}, in hex`, bytes: Buffer.from(octets.toString('hex')) },
    ...[0, 1, 2].map((before) => ({ what: `${name}, in base64`, bytes: digits(octets, before) })),
  ];
});

const found = new Set();
let files = 0;
let bytes = 0;
for (const directory of directories)
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    let content = readFileSync(path);
    files += 1;
    bytes += content.length;
    // etcd makes its files larger than what is in them.
    let end = content.length;
    while (end >= 4096 && content.subarray(end - 4096, end).every((octet) => octet === 0)) end -= 4096;
    content = content.subarray(0, end);
    for (const { what, bytes: form } of forms) if (content.includes(form)) found.add(`${path}: ${what}`);
  }
process.stdout.write(JSON.stringify({ files, bytes, found: [...found].sort() }));
