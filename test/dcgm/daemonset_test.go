// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package dcgm

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

// daemonSet has the fields of the DaemonSet that the test checks.
type daemonSet struct {
	Spec struct {
		Selector struct{ MatchLabels map[string]string }
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				ServiceAccountName string
				SecurityContext    struct{ RunAsNonRoot bool }
				Containers         []struct {
					SecurityContext struct {
						RunAsUser    *int
						Capabilities struct{ Add []string }
					}
					Args []string
					Env  []struct {
						Name, Value string
						ValueFrom   struct{ FieldRef struct{ FieldPath string } }
					}
					Ports []struct {
						Name          string
						ContainerPort int
					}
					VolumeMounts []struct{ Name, MountPath string }
				}
				Volumes []struct {
					Name      string
					ConfigMap struct{ Name string }
				}
			}
		}
	}
}

// TestDaemonSetRunsTheExample checks that the Kubernetes manifest has the same
// configuration as the example and that it is valid with the variables of the DaemonSet.
func TestDaemonSetRunsTheExample(t *testing.T) {
	content, err := os.ReadFile(example("kubernetes/daemonset.yaml"))
	require.NoError(t, err)
	objects := map[string]*confmap.Conf{}
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		object := parse(t, document)
		objects[object.Get("kind").(string)] = object
	}
	name := func(kind string) string { return objects[kind].Get("metadata::name").(string) }

	embedded := objects["ConfigMap"].Get("data").(map[string]any)["collector.yaml"].(string)
	collector, err := os.ReadFile(example("collector.yaml"))
	require.NoError(t, err)
	assert.Equal(t, string(collector), embedded)

	var set daemonSet
	encoded, err := json.Marshal(objects["DaemonSet"].ToStringMap())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &set))
	assert.Equal(t, set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels)
	pod := set.Spec.Template.Spec
	assert.Equal(t, name("ServiceAccount"), pod.ServiceAccountName)
	require.Len(t, pod.Containers, 1)
	container := pod.Containers[0]

	file := filepath.Join(t.TempDir(), "collector.yaml")
	require.NoError(t, os.WriteFile(file, []byte(embedded), 0o600))
	validate := exec.Command(os.Getenv("OTELCOL_DCGM"), "validate", "--config", file)
	values := map[string]string{}
	for _, variable := range container.Env {
		values[variable.Name] = variable.Value
		validate.Env = append(validate.Env, variable.Name+"="+variable.Value)
		if variable.Name != "GOMEMLIMIT" {
			assert.Regexp(t, `\$\{env:`+variable.Name+`[:}]|env\("`+variable.Name+`"\)`, embedded, "unused variable")
		}
	}
	printed, err := validate.CombinedOutput()
	require.NoError(t, err, "%s", printed)

	assert.True(t, strings.HasPrefix(values["DCGM_ADDRESS"], name("Service")+":"), values["DCGM_ADDRESS"])
	for _, port := range container.Ports {
		addresses := []string{values["EXPORTER_ADDRESS"], values["HEALTH_ADDRESS"], values["TELEMETRY_HOST"] + ":8888"}
		assert.Contains(t, addresses, "0.0.0.0:"+strconv.Itoa(port.ContainerPort), port.Name)
	}
	assert.NotContains(t, values, "OTLP_ADDRESS", "nobody else may send it telemetry")
	policy := objects["NetworkPolicy"]
	assert.Equal(t, map[string]any{"matchLabels": policy.Get("spec::podSelector::matchLabels")},
		map[string]any{"matchLabels": objects["DaemonSet"].Get("spec::selector::matchLabels")})
	assert.True(t, pod.SecurityContext.RunAsNonRoot)
	assert.Nil(t, container.SecurityContext.RunAsUser)
	assert.Empty(t, container.SecurityContext.Capabilities.Add)
	mounts := map[string]string{}
	for _, mount := range container.VolumeMounts {
		mounts[mount.Name] = mount.MountPath
	}
	for _, volume := range pod.Volumes {
		assert.Contains(t, mounts, volume.Name)
		if volume.ConfigMap.Name != "" {
			assert.Equal(t, name("ConfigMap"), volume.ConfigMap.Name)
			assert.Equal(t, []string{"--config", mounts[volume.Name] + "/collector.yaml"}, container.Args)
		}
	}
	assert.Len(t, mounts, len(pod.Volumes))
	for _, path := range []string{"STORMLOG_DIR:-" + mounts["stormlog"] + "}", "STORAGE:-" + mounts["storage"] + "}"} {
		assert.Contains(t, embedded, path)
	}
}

func parse(t *testing.T, yaml []byte) *confmap.Conf {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML(yaml)
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf
}
