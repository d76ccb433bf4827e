/** Where a passphrase comes from: a file, the terminal without showing it, or standard input. Never the command line. */
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { ReadStream } from 'node:tty';
import { CommandError, UsageError } from './command.js';

/** Longer ones are a wrong file. */
const passphraseBytesMax = 64 * 1024;

export interface PassphraseSource {
  /** Undefined: the terminal or standard input. */
  readonly file: string | undefined;
  readonly stdin: NodeJS.ReadableStream & Partial<Pick<ReadStream, 'isTTY'>>;
  /** Where the terminal is asked. */
  readonly ask: (question: string) => void;
  /** One that is new is asked for twice. */
  readonly isNew: boolean;
}

/** What was named cannot be read. */
export const unreadable = (what: string, path: string, cause: NodeJS.ErrnoException): CommandError =>
  new CommandError(
    1,
    `cannot read ${path}: ${cause.code === 'ENOENT' ? 'there is no such file' : cause.message}`,
    {
      means: `That file is to hold the ${what}. Nothing was done.`,
      todo: 'Check the path and who may read it (ls -l); run it as root, or name another file.',
    },
    { cause },
  );

const readWord = (file: string): Promise<string> =>
  readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw unreadable('passphrase', file, cause);
  });

/** The first line. Throws CommandError for a file that cannot be read, UsageError for an empty one, and for two that differ. */
export async function readPassphrase({ file, stdin, ask, isNew }: PassphraseSource): Promise<string> {
  if (file !== undefined) return firstLine(await readWord(file), file);
  if (stdin.isTTY !== true) return firstLine(await readAll(stdin), 'standard input');
  const passphrase = await prompt(stdin, ask, 'Passphrase: ');
  if (isNew && passphrase !== (await prompt(stdin, ask, 'The same again: ')))
    throw new UsageError(
      'the passphrases differ',
      'What was typed the second time is not what was typed first, so nothing was done.',
      'Run it again and type the same twice.',
    );
  return firstLine(passphrase, 'what was typed');
}

function firstLine(text: string, from: string): string {
  const [line = ''] = text.split(/\r?\n/);
  if (line === '')
    throw new UsageError(
      `the passphrase is empty (${from})`,
      'The passphrase is the first line, and there is nothing in it. Nothing was done.',
      'Give one of at least 8 characters: in the first line of --passphrase-file, on standard input, or at the terminal.',
    );
  return line;
}

async function readAll(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk));
    if ((size += chunk.length) > passphraseBytesMax)
      throw new UsageError(
        'the passphrase is too long',
        `More than ${passphraseBytesMax} octets came by standard input: another file than was meant, most likely. Nothing was done.`,
        'Give the passphrase alone, in one line.',
      );
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Readline in terminal mode turns the terminal's own echo off; its output goes nowhere. */
async function prompt(
  input: NodeJS.ReadableStream,
  ask: (question: string) => void,
  question: string,
): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: nowhere, terminal: true });
  ask(question);
  try {
    return await lines.question('');
  } finally {
    lines.close();
    ask('\n');
  }
}
