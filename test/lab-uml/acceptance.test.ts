/** The acceptance list with the ipvs engine, in user-mode Linux. */
import { acceptance } from '../support/acceptance.js';

acceptance({ kernel: 'uml', engine: 'ipvs' });
