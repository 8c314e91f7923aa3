// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package sdktest tests the recorder with the OpenTelemetry SDK. It is a module of its
// own, so that the recorder's users need no SDK but their own.
package sdktest // import "github.com/phaseattr/phaseattr/recorder/internal/sdktest"
