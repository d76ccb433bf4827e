/** Names for services created without one: an adjective and a scientist, as Docker's are. */
import type { RandomSource } from '../../model/ids.js';

const adjectives =
  'agile amber bold brave bright busy calm clever cosy daring dazzling eager earnest fearless festive fond gentle ' +
  'happy hopeful jolly keen kind lively lucid merry modest nimble noble patient placid quick quiet serene sharp ' +
  'silent sleek steady sunny swift tender upbeat vivid warm wise witty zealous'.trim();
const scientists =
  'ampere babbage bernoulli bohr boyle cantor curie darwin dijkstra einstein erdos euler faraday fermat feynman ' +
  'franklin galileo gauss goldberg hamilton hawking hertz hilbert hopper huygens kepler knuth lamport leibniz ' +
  'liskov lovelace maxwell meitner mendel newton noether pascal pasteur planck ptolemy ramanujan shannon tesla ' +
  'turing volta wiles wright yonath';

/** The tries without a number before a number is put behind. */
const plainTries = 8;

/** A name that is not taken. */
export function randomServiceName(random: RandomSource, isTaken: (name: string) => boolean): string {
  const pick = (words: readonly string[]): string => {
    const [high = 0, low = 0] = random(2);
    return words[(high * 256 + low) % words.length] ?? '';
  };
  for (let attempt = 0; ; attempt++) {
    const name = `${pick(adjectives.split(' '))}_${pick(scientists.split(' '))}`;
    const numbered = attempt < plainTries ? name : `${name}${attempt}`;
    if (!isTaken(numbered)) return numbered;
  }
}
