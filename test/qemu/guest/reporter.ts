/** Tells what became of each test of a vitest run in the guest: one JSON line a test, written as soon as it is known. */
import { appendFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** One line. `file` is the test file's path below the checkout; `errors` are empty unless the test failed. */
export interface TestReport {
  readonly file: string;
  readonly test: string;
  readonly state: 'passed' | 'failed' | 'skipped' | 'pending';
  readonly errors: readonly string[];
  /** How long it took; 0 of a file itself. */
  readonly ms: number;
}

const write = (report: TestReport): void =>
  appendFileSync(process.env['SKEP_GUEST_REPORTS'] ?? '/dev/stdout', `${JSON.stringify(report)}\n`);

const fileOf = (module: TestModule): string => relative(process.cwd(), module.moduleId);
const wordsOf = (errors: readonly { message: string; stack?: string }[]): string[] =>
  errors.map(({ message, stack }) => stack ?? message);

export default class GuestReporter implements Reporter {
  onTestCaseResult(testCase: TestCase): void {
    const { state, errors = [] } = testCase.result();
    write({
      file: fileOf(testCase.module),
      test: testCase.fullName,
      state,
      errors: wordsOf(errors),
      ms: Math.round(testCase.diagnostic()?.duration ?? 0),
    });
  }

  /** What fails outside any test: the import of the file, or a hook. */
  onTestModuleEnd(module: TestModule): void {
    const errors = [
      ...module.errors(),
      ...[...module.children.allSuites()].flatMap((suite) => suite.errors()),
    ];
    if (errors.length > 0)
      write({
        file: fileOf(module),
        test: 'the file itself',
        state: 'failed',
        errors: wordsOf(errors),
        ms: 0,
      });
  }
}
