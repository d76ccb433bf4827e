/**
 * A call of the Docker Engine to its network driver in which skep-dataplane went away. The engine (20.10) makes it again, but has
 * spent the text of the request by then: the next daemon is asked with nothing, and can only say so. Whoever had asked the
 * engine is told these words, and asks once more.
 */
export const lostRequest = 'the engine has lost its request to skep, which went away meanwhile';

/** How Go's HTTP client begins when it could not reach the driver's socket: the engine tries for 30 s. */
const unreached = /plugins%2Fskep\.sock\/\w+\.\w+": /;

/** Whether the engine's words say that the driver went away during a call, or was away for it: another may succeed. */
export const isDriverGone = (words: string): boolean => words.includes(lostRequest) || unreached.test(words);
