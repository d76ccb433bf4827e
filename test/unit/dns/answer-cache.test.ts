/** Which answers are given again, to which questions. */
import { expect, test } from 'vitest';
import { AnswerCache } from '../../../src/dataplane/dns/answer-cache.js';

/** A question by its id and what follows, and an answer that repeats the id. */
const message = (id: number, rest: string): Buffer =>
  Buffer.concat([Buffer.of(id >> 8, id & 255), Buffer.from(rest)]);

test('a question alike gets the same octets under its own id', () => {
  const cache = new AnswerCache();
  cache.keep(message(0x0102, 'web?'), 5, 1, message(0x0102, 'web!'));
  expect(cache.find(message(0xfffe, 'web?'), 6)).toEqual(message(0xfffe, 'web!'));
  for (const other of ['Web?', 'web? ', 'web', '']) expect(cache.find(message(1, other), 6)).toBeUndefined();
  expect(cache.find(Buffer.of(1), 6)).toBeUndefined();
});

test('what has no records is kept as well', () => {
  const cache = new AnswerCache();
  cache.keep(message(1, 'web AAAA?'), 3, 0, message(1, 'none'));
  expect(cache.find(message(2, 'web AAAA?'), 8)).toEqual(message(2, 'none'));
});

test('several addresses keep turning', () => {
  const cache = new AnswerCache();
  const orders = ['abc', 'bca', 'cab'];
  for (let rotation = 0; rotation < 9; rotation++) {
    const order = orders[rotation % 3] ?? '';
    const found = cache.find(message(rotation, 'tasks?'), rotation);
    if (rotation < 3) {
      expect(found, 'each order is made once').toBeUndefined();
      cache.keep(message(rotation, 'tasks?'), rotation, 3, message(rotation, order));
    } else expect(found).toEqual(message(rotation, order));
  }
});

test('what was given to keep stays what it was, whatever becomes of the caller’s octets', () => {
  const cache = new AnswerCache();
  const [question, answer] = [message(1, 'web?'), message(1, 'web!')];
  cache.keep(question, 0, 1, answer);
  question.fill(0);
  answer.fill(0);
  expect(cache.find(message(2, 'web?'), 0)).toEqual(message(2, 'web!'));
});
