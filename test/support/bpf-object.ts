/** Small BPF objects for tests of loading and attaching, compiled from C on the spot with the project's own layout at hand. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../../src/runtime/native.js';

const layout = fileURLToPath(new URL('../../native/bpf', import.meta.url));

/** A BPF file system and a directory for objects, gone with all that is pinned when the scope ends. Needs root. */
export class TestBpffs implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'skeptest-bpf-'));
  readonly #bpffs = join(this.directory, 'bpffs');
  /** Where maps are pinned. */
  readonly pins = join(this.#bpffs, 'v1');

  constructor() {
    mkdirSync(this.#bpffs);
    native().mountBpffs(this.#bpffs);
  }

  /** The path of an object compiled from C that begins after the includes. */
  compile(source: string): string {
    const from = join(this.directory, 'object.bpf.c');
    const to = join(this.directory, `${readdirSync(this.directory).length}.o`);
    writeFileSync(
      from,
      `#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include "layout.h"\n${source}\n` +
        'char object_license[] SEC("license") = "GPL";\n',
    );
    const multiarch = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
    const flags = ['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-Wall', '-Werror', `-I${layout}`];
    execFileSync('clang', [...flags, '-isystem', `/usr/include/${multiarch}`, '-c', from, '-o', to]);
    return to;
  }

  [Symbol.dispose](): void {
    execFileSync('umount', [this.#bpffs]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
