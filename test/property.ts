/**
 * fast-check, with arrays as long as their tests say: by itself it makes at most 10 elements of `maxLength: 300`.
 */
import fc from 'fast-check';

fc.configureGlobal({ defaultSizeToMaxWhenMaxSpecified: true });

export default fc;
