/**
 * Programs for the guest: the sources as plain JavaScript in a folder below node_modules, where Node finds the
 * dependencies and the guest, whose /tmp is its own, finds the folder.
 */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '../..');
const sources = [
  ...['src/model', 'src/options', 'src/runtime', 'src/metrics', 'src/dataplane', 'src/controlplane'],
  ...['test/conformance', 'test/support', 'test/uml/guest', 'test/unit/dataplane/plan'],
  'bench',
];

export interface GuestProgram extends AsyncDisposable {
  /** Path of a source file's JavaScript. */
  path(source: string): string;
}

/** Transpiles what a scenario may import. Type errors are the type check's to find. */
export async function buildGuestProgram(): Promise<GuestProgram> {
  const cache = join(root, 'node_modules/.cache');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'skep-uml-'));
  for (const source of sources) await transpile(source, folder);
  for (const beside of ['native', 'proto']) await symlink(join(root, beside), join(folder, beside));
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  return {
    path: (source) => join(folder, source.replace(/\.ts$/, '.js')),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

async function transpile(source: string, folder: string): Promise<void> {
  const entries = await readdir(join(root, source), { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const file = join(entry.parentPath, entry.name);
    if (entry.isFile() && entry.name.endsWith('.py')) {
      const out = join(folder, relative(root, file));
      await mkdir(dirname(out), { recursive: true });
      await copyFile(file, out);
    }
    if (!entry.isFile() || !/\.ts$/.test(entry.name) || /\.(test|bench|d)\.ts$/.test(entry.name)) continue;
    const { outputText } = ts.transpileModule(await readFile(file, 'utf8'), {
      fileName: file,
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        inlineSourceMap: true,
      },
    });
    const out = join(folder, relative(root, file).replace(/\.ts$/, '.js'));
    await mkdir(dirname(out), { recursive: true });
    await writeFile(out, outputText);
  }
}
