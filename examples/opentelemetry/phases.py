# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

"""Phases of a PyTorch loop, for the collector of this example: `with phase("forward"): ...`"""

import os
import socket

import torch
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

device = torch.cuda.current_device()  # after torch.cuda.set_device
resource = Resource.create({
    "session_id": os.environ["RUN_ID"],  # the same in all ranks
    "rank": int(os.environ["RANK"]),
    "host.name": socket.gethostname(),
    "process.pid": os.getpid(),
    "gpu.uuid": f"GPU-{torch.cuda.get_device_properties(device).uuid}",
})
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
phase = provider.get_tracer("phases").start_as_current_span
