// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

package association

import "slices"

// The fields of boundary records that the rules treat specially.
const (
	FieldSession   = "session_id"
	FieldRank      = "rank"
	FieldHost      = "host"
	FieldPID       = "pid"
	FieldContainer = "container_id"
	FieldPodUID    = "pod_uid"
	FieldPod       = "pod"
	FieldNamespace = "namespace"
	FieldJob       = "job_id"
	FieldDevice    = "device_id"
	FieldUUID      = "gpu_uuid"
	FieldPCI       = "pci_bus_id"
	FieldInstance  = "gpu_instance_id"
	FieldLocalRank = "local_rank"
)

// nameHardware names hardware of any type, which is nameHardwareType.
const (
	nameHardware     = "hw.id"
	nameHardwareType = "hw.type"
	hardwareGPU      = "gpu"
)

// knownFields are the fields that are read from every boundary record, whatever the rules.
func knownFields() []string {
	return []string{
		FieldHost, FieldPID, FieldContainer, FieldPodUID, FieldPod, FieldNamespace, FieldJob,
		FieldDevice, FieldUUID, FieldPCI, FieldInstance, FieldLocalRank,
	}
}

// DeviceFields returns the fields that name a device.
func DeviceFields() []string { return []string{FieldDevice, FieldUUID, FieldPCI, FieldInstance} }

// RecordNames returns the names that boundary records have for a field, in order of
// precedence: its own first.
func RecordNames(field string) []string {
	names := []string{field}
	switch field {
	case FieldHost:
		return append(names, "host.name", "host_name")
	case FieldPID:
		return append(names, "process.pid")
	case FieldContainer:
		return append(names, "container.id")
	case FieldPodUID:
		return append(names, "k8s.pod.uid")
	case FieldPod:
		return append(names, "pod_name", "k8s.pod.name")
	case FieldNamespace:
		return append(names, "k8s.namespace.name")
	case FieldJob:
		return append(names, "slurm.job.id")
	case FieldDevice:
		return append(names, "nv.gpu.index", "dl.gpu.index")
	case FieldLocalRank:
		return append(names, "nv.dl.local_rank", "dl.local_rank")
	case FieldUUID:
		return append(names, "gpu.uuid", "nv.gpu.uuid", "dl.gpu.uuid", "device_uuid")
	case FieldPCI:
		return append(names, "gpu.pci_bus_id", "nv.gpu.pci_bus_id", "dl.gpu.pci_bus_id")
	}
	return names
}

// TelemetryNames returns the names that exporters and SDKs have for a field, in order of
// precedence within one attribute map; none if the field is not one of those above.
//
//	host      the semantic conventions, dcgm-exporter, AMD's device-metrics-exporter
//	pod       dcgm-exporter and AMD's, those relabelled by Prometheus first
//	job       AMD's, dcgm-exporter, the Slurm detector
//	device    dcgm-exporter, the semantic conventions, AMD's, Ray
//	UUID      dcgm-exporter, nvidia_gpu_exporter, AMD's, the semantic conventions
func TelemetryNames(field string) []string {
	switch field {
	case FieldHost:
		return []string{"host.name", "host", "Hostname", "hostname"}
	case FieldPID:
		return []string{"process.pid", "pid"}
	case FieldContainer:
		return []string{"container.id", "container_id"}
	case FieldPodUID:
		return []string{"k8s.pod.uid", "pod_uid"}
	case FieldPod:
		return []string{"exported_pod", "pod", "k8s.pod.name"}
	case FieldNamespace:
		return []string{"exported_namespace", "namespace", "k8s.namespace.name"}
	case FieldJob:
		return []string{"job_id", "hpc_job", "slurm.job.id", "slurm_job_id", "jobid"}
	case FieldDevice:
		return []string{"gpu", "gpu.index", nameHardware, "device_id", "GPU_ID", "gpu_id", "GpuIndex"}
	case FieldUUID:
		return []string{"UUID", "uuid", "gpu_uuid", "gpu.uuid", nameHardware}
	case FieldPCI:
		return []string{"pci_bus_id", "gpu.pci_bus_id", nameHardware}
	case FieldInstance:
		return []string{"GPU_I_ID", "gpu_instance_id"}
	}
	return nil
}

// isGeneric reports whether an attribute of that name may be of something else than a GPU.
func isGeneric(name string) bool {
	return slices.Contains([]string{"UUID", "uuid", nameHardware}, name)
}
