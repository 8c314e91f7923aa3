// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package replay

// flags are the flags of an entry or of a frame.
type flags uint8

func (f flags) is(flag flags) bool { return f&flag != 0 }

func (f *flags) set(flag flags, on bool) {
	if on {
		*f |= flag
	} else {
		*f &^= flag
	}
}
