/* A stand-in for NVIDIA's libnvidia-ml.so.1: it answers the calls of pynvml from a text file, so that the
 * real binding can be tested against any machine, healthy or not. It only reads: the stand-in nvidia-smi
 * changes settings and writes the same file.
 *
 * DSR1_NVML_STATE names the file; without it the driver is "not loaded". The file is read on every call, so a
 * test can change the machine while it runs. Each line is "key value":
 *     driver 580.95.05            a fact of the machine
 *     gpus.name NVIDIA H200       a fact of every GPU
 *     gpu.3.power_mw 650000       a fact of GPU 3, which overrides that of every GPU
 *     gpu.3.error 15              every call about GPU 3 returns this nvmlReturn_t
 *     gpus.error.nvmlDeviceGetMigMode 4    one function returns it; error.FUNCTION does the same
 * A handle that was never given is an invalid argument, as the documentation of NVML says.
 * For a missing fact the answer is NVML_ERROR_NOT_SUPPORTED. If throttle_reasons has several numbers, each call
 * since NVML was opened gets the next one; after the last number it is repeated.
 * DSR1_NVML_LOG names a file to which every call is appended as "PID FUNCTION GPU" (GPU is - for none).
 * Built with -DOLD_DRIVER it lacks the functions that came with driver 535 and later.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3,
       INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, VERSION_MISMATCH = 25 };
enum { MAX_GPUS = 64, VALUE = 512, NOT_A_GPU = -2 };
typedef unsigned long long u64;
typedef int *device;

static int indices[MAX_GPUS];
static unsigned throttle_calls[MAX_GPUS];
static unsigned energy_calls[MAX_GPUS];
static int open_count;

/* Reads the value of a key; returns 0 if there is none. */
static int fact(const char *key, char *value) {
    const char *path = getenv("DSR1_NVML_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    char line[VALUE + 128];
    size_t length = strlen(key);
    int found = 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, VALUE, "%.*s", VALUE - 1, line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static int gpu_fact(int gpu, const char *name, char *value) {
    char key[256];
    snprintf(key, sizeof key, "gpu.%d.%s", gpu, name);
    if (fact(key, value)) return 1;
    snprintf(key, sizeof key, "gpus.%s", name);
    return fact(key, value);
}

static void record(const char *function, int gpu) {
    const char *path = getenv("DSR1_NVML_LOG");
    if (!path) return;
    char line[256], number[16] = "-";
    if (gpu >= 0) snprintf(number, sizeof number, "%d", gpu);
    int length = snprintf(line, sizeof line, "%d %s %s\n", (int)getpid(), function, number);
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (log < 0) return;
    if (write(log, line, (size_t)length) < 0) { /* a test that reads the log will say so */ }
    close(log);
}

/* The index of a handle; NOT_A_GPU for one that was never given, such as after a refusal. */
static int of(device gpu) { return gpu ? *gpu : NOT_A_GPU; }

/* Records a call and returns the error for its answer, or SUCCESS. gpu is -1 for the machine. */
static int begin(const char *function, int gpu) {
    char key[256], value[VALUE];
    record(function, gpu);
    if (gpu == NOT_A_GPU) return INVALID_ARGUMENT;
    if (!getenv("DSR1_NVML_STATE")) return DRIVER_NOT_LOADED;
    if (!open_count && strcmp(function, "nvmlInitWithFlags") != 0) return UNINITIALIZED;
    snprintf(key, sizeof key, "error.%s", function);
    if (gpu >= 0 ? gpu_fact(gpu, key, value) || gpu_fact(gpu, "error", value) : fact(key, value))
        return atoi(value);
    return SUCCESS;
}

static int text(const char *function, int gpu, const char *name, char *out, unsigned size) {
    char value[VALUE];
    int error = begin(function, gpu);
    if (error) return error;
    if (!(gpu >= 0 ? gpu_fact(gpu, name, value) : fact(name, value))) return NOT_SUPPORTED;
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static int number(const char *function, int gpu, const char *name, u64 *out) {
    char value[VALUE];
    int error = text(function, gpu, name, value, sizeof value);
    if (!error) *out = strtoull(value, NULL, 0);
    return error;
}

static int small(const char *function, int gpu, const char *name, unsigned *out) {
    u64 value;
    int error = number(function, gpu, name, &value);
    if (!error) *out = (unsigned)value;
    return error;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int error = begin("nvmlInitWithFlags", -1);
    if (!error && !open_count++) {
        memset(throttle_calls, 0, sizeof throttle_calls);
        memset(energy_calls, 0, sizeof energy_calls);
    }
    return error;
}

int nvmlShutdown(void) {
    int error = begin("nvmlShutdown", -1);
    if (!error) open_count--;
    return error;
}

const char *nvmlErrorString(int result) {
    static char message[64];
    snprintf(message, sizeof message, "stand-in error %d", result);
    return message;
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    return text("nvmlSystemGetDriverVersion", -1, "driver", out, size);
}

int nvmlSystemGetCudaDriverVersion(int *out) {
    return small("nvmlSystemGetCudaDriverVersion", -1, "cuda", (unsigned *)out);
}

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    return small("nvmlSystemGetCudaDriverVersion_v2", -1, "cuda", (unsigned *)out);
}

int nvmlDeviceGetCount_v2(unsigned *out) { return small("nvmlDeviceGetCount_v2", -1, "count", out); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) {
    char value[VALUE];
    int error = begin("nvmlDeviceGetHandleByIndex_v2", (int)index);
    if (error) return error;
    if (!fact("count", value) || index >= (unsigned)atoi(value) || index >= MAX_GPUS) return INVALID_ARGUMENT;
    indices[index] = (int)index;
    *out = &indices[index];
    return SUCCESS;
}

int nvmlDeviceGetName(device gpu, char *out, unsigned size) {
    return text("nvmlDeviceGetName", of(gpu), "name", out, size);
}

int nvmlDeviceGetUUID(device gpu, char *out, unsigned size) {
    return text("nvmlDeviceGetUUID", of(gpu), "uuid", out, size);
}

struct memory_v1 { u64 total, free, used; };
struct memory_v2 { unsigned version; u64 total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo(device gpu, struct memory_v1 *out) {
    int error = number("nvmlDeviceGetMemoryInfo", of(gpu), "memory_total", &out->total);
    if (!error) error = number("nvmlDeviceGetMemoryInfo", of(gpu), "memory_used", &out->used);
    out->free = error ? 0 : out->total - out->used;
    return error;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetMemoryInfo_v2(device gpu, struct memory_v2 *out) {
    if (out->version != 0x02000028) return VERSION_MISMATCH;
    int error = number("nvmlDeviceGetMemoryInfo_v2", of(gpu), "memory_total", &out->total);
    if (!error) error = number("nvmlDeviceGetMemoryInfo_v2", of(gpu), "memory_used", &out->used);
    out->reserved = 0;
    out->free = error ? 0 : out->total - out->used;
    return error;
}
#endif

int nvmlDeviceGetMigMode(device gpu, unsigned *current, unsigned *pending) {
    int error = small("nvmlDeviceGetMigMode", of(gpu), "mig", current);
    if (!error) *pending = *current;
    return error;
}

int nvmlDeviceGetEccMode(device gpu, unsigned *current, unsigned *pending) {
    int error = small("nvmlDeviceGetEccMode", of(gpu), "ecc", current);
    if (!error) *pending = *current;
    return error;
}

int nvmlDeviceGetTotalEccErrors(device gpu, unsigned type, unsigned counter, u64 *out) {
    if (type > 1 || counter != 0) return INVALID_ARGUMENT; /* corrected or not, since the driver loaded */
    return number("nvmlDeviceGetTotalEccErrors", of(gpu), type ? "ecc_uncorrected" : "ecc_corrected", out);
}

int nvmlDeviceGetRemappedRows(device gpu, unsigned *correctable, unsigned *uncorrectable, unsigned *pending,
                              unsigned *failure) {
    int error = small("nvmlDeviceGetRemappedRows", of(gpu), "remap_pending", pending);
    if (!error) error = small("nvmlDeviceGetRemappedRows", of(gpu), "remap_failure", failure);
    *correctable = *uncorrectable = 0;
    if (!error) small("nvmlDeviceGetRemappedRows", of(gpu), "remapped_rows", uncorrectable);
    return error;
}

/* nvlinks is the number of links; the last nvlinks_down of them are inactive. */
int nvmlDeviceGetNvLinkState(device gpu, unsigned link, unsigned *active) {
    unsigned links, down = 0;
    int error = small("nvmlDeviceGetNvLinkState", of(gpu), "nvlinks", &links);
    if (error) return error;
    if (link >= links) return INVALID_ARGUMENT;
    error = small("nvmlDeviceGetNvLinkState", of(gpu), "nvlinks_down", &down);
    *active = link < links - down;
    return error;
}

#ifndef OLD_DRIVER
struct fabric { unsigned version; unsigned char cluster[16]; unsigned status, clique; unsigned char state; unsigned health; };

int nvmlDeviceGetGpuFabricInfoV(device gpu, struct fabric *out) {
    if (out->version != 0x02000024) return VERSION_MISMATCH;
    unsigned state;
    int error = small("nvmlDeviceGetGpuFabricInfoV", of(gpu), "fabric_state", &state);
    if (!error) out->state = (unsigned char)state;
    if (!error) error = small("nvmlDeviceGetGpuFabricInfoV", of(gpu), "fabric_status", &out->status);
    if (!error) error = small("nvmlDeviceGetGpuFabricInfoV", of(gpu), "fabric_health", &out->health);
    return error;
}
#endif

struct process { unsigned pid; u64 used; unsigned instance, compute; };

/* processes is a list of PID:BYTES. */
int nvmlDeviceGetComputeRunningProcesses_v3(device gpu, unsigned *count, struct process *out) {
    char value[VALUE];
    int error = text("nvmlDeviceGetComputeRunningProcesses_v3", of(gpu), "processes", value, sizeof value);
    if (error) return error;
    unsigned found = 0;
    for (char *word = strtok(value, " "); word; word = strtok(NULL, " ")) {
        if (strcmp(word, "none") == 0) break;
        if (out && found < *count) {
            out[found].pid = (unsigned)strtoul(word, &word, 10);
            out[found].used = strtoull(word + 1, NULL, 10);
        }
        found++;
    }
    int fits = out ? found <= *count : found == 0;
    *count = found;
    return fits ? SUCCESS : INSUFFICIENT_SIZE;
}

int nvmlDeviceGetPersistenceMode(device gpu, unsigned *out) {
    return small("nvmlDeviceGetPersistenceMode", of(gpu), "persistence", out);
}

int nvmlDeviceGetPowerManagementLimit(device gpu, unsigned *out) {
    return small("nvmlDeviceGetPowerManagementLimit", of(gpu), "power_limit_mw", out);
}

int nvmlDeviceGetEnforcedPowerLimit(device gpu, unsigned *out) {
    return small("nvmlDeviceGetEnforcedPowerLimit", of(gpu), "power_enforced_mw", out);
}

struct profiles { unsigned version, known[8], requested[8], enforced[8]; };

/* power_profiles is a mask of the first 64 profiles. */
int nvmlDeviceWorkloadPowerProfileGetCurrentProfiles(device gpu, struct profiles *out) {
    u64 mask;
    if (out->version != 0x01000064) return VERSION_MISMATCH;
    int error = number("nvmlDeviceWorkloadPowerProfileGetCurrentProfiles", of(gpu), "power_profiles", &mask);
    if (!error) {
        out->enforced[0] = (unsigned)mask;
        out->enforced[1] = (unsigned)(mask >> 32);
    }
    return error;
}

int nvmlDeviceGetVbiosVersion(device gpu, char *out, unsigned size) {
    return text("nvmlDeviceGetVbiosVersion", of(gpu), "vbios", out, size);
}

int nvmlDeviceGetCurrPcieLinkGeneration(device gpu, unsigned *out) {
    return small("nvmlDeviceGetCurrPcieLinkGeneration", of(gpu), "pcie_generation", out);
}

int nvmlDeviceGetMaxPcieLinkGeneration(device gpu, unsigned *out) {
    return small("nvmlDeviceGetMaxPcieLinkGeneration", of(gpu), "pcie_generation_max", out);
}

int nvmlDeviceGetCurrPcieLinkWidth(device gpu, unsigned *out) {
    return small("nvmlDeviceGetCurrPcieLinkWidth", of(gpu), "pcie_width", out);
}

int nvmlDeviceGetMaxPcieLinkWidth(device gpu, unsigned *out) {
    return small("nvmlDeviceGetMaxPcieLinkWidth", of(gpu), "pcie_width_max", out);
}

int nvmlDeviceGetPcieReplayCounter(device gpu, unsigned *out) {
    return small("nvmlDeviceGetPcieReplayCounter", of(gpu), "pcie_replays", out);
}

/* cpus is a mask of the first 64 CPUs. */
int nvmlDeviceGetCpuAffinity(device gpu, unsigned size, unsigned long *out) {
    u64 mask;
    int error = number("nvmlDeviceGetCpuAffinity", of(gpu), "cpus", &mask);
    if (error) return error;
    memset(out, 0, size * sizeof *out);
    *out = (unsigned long)mask;
    return SUCCESS;
}

int nvmlDeviceGetIndex(device gpu, unsigned *out) {
    int error = begin("nvmlDeviceGetIndex", of(gpu));
    if (!error) *out = (unsigned)*gpu;
    return error;
}

/* One event set. xids is a list of codes; each code is one event of its GPU, told once per set. */
static int event_set, event_types[MAX_GPUS];
static unsigned xids_told[MAX_GPUS];

struct event { device gpu; u64 type, data; unsigned instance, compute; };

int nvmlEventSetCreate(int **out) {
    int error = begin("nvmlEventSetCreate", -1);
    if (error) return error;
    memset(event_types, 0, sizeof event_types);
    memset(xids_told, 0, sizeof xids_told);
    *out = &event_set;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(device gpu, u64 types, int *set) {
    int error = begin("nvmlDeviceRegisterEvents", of(gpu));
    if (error) return error;
    if (set != &event_set) return INVALID_ARGUMENT;
    event_types[*gpu] = types == 8;
    return SUCCESS;
}

int nvmlEventSetWait_v2(int *set, struct event *out, unsigned timeout_ms) {
    int error = begin("nvmlEventSetWait_v2", -1);
    if (error) return error;
    if (set != &event_set) return INVALID_ARGUMENT;
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) {
        char value[VALUE];
        if (!event_types[gpu] || !gpu_fact(gpu, "xids", value)) continue;
        unsigned number = 0;
        for (char *word = strtok(value, " "); word; word = strtok(NULL, " "), number++)
            if (strcmp(word, "none") != 0 && number == xids_told[gpu]) {
                xids_told[gpu]++;
                *out = (struct event){&indices[gpu], 8, strtoull(word, NULL, 10), 0, 0};
                return SUCCESS;
            }
    }
    usleep(timeout_ms * 1000);
    return TIMEOUT;
}

int nvmlEventSetFree(int *set) {
    int error = begin("nvmlEventSetFree", -1);
    return error ? error : set == &event_set ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetPowerManagementDefaultLimit(device gpu, unsigned *out) {
    return small("nvmlDeviceGetPowerManagementDefaultLimit", of(gpu), "power_default_mw", out);
}

int nvmlDeviceGetPowerUsage(device gpu, unsigned *out) {
    return small("nvmlDeviceGetPowerUsage", of(gpu), "power_mw", out);
}

struct field { unsigned id, scope; long long timestamp, latency; unsigned type; int error; union { unsigned small; u64 large; } value; };

/* The fields that the plugin reads; the error of a field is its own. Counters are 64 bits wide (type 3). */
static const struct { unsigned id; const char *name; unsigned type; } FIELDS[] = {
    {186, "power_instant_mw", 1}, {185, "power_average_mw", 1}, {90, "nvlink_mb_s", 1},
    {38, "nvlink_crc_flit", 3}, {45, "nvlink_crc_data", 3}, {52, "nvlink_replays", 3}, {59, "nvlink_recoveries", 3},
};

int nvmlDeviceGetFieldValues(device gpu, int count, struct field *fields) {
    int error = begin("nvmlDeviceGetFieldValues", of(gpu));
    for (int i = 0; !error && i < count; i++) {
        char value[VALUE];
        fields[i].error = NOT_SUPPORTED;
        for (unsigned known = 0; known < sizeof FIELDS / sizeof *FIELDS; known++)
            if (fields[i].id == FIELDS[known].id && gpu_fact(of(gpu), FIELDS[known].name, value)) {
                fields[i].error = SUCCESS;
                fields[i].type = FIELDS[known].type;
                if (FIELDS[known].type == 3) fields[i].value.large = strtoull(value, NULL, 0);
                else fields[i].value.small = (unsigned)strtoul(value, NULL, 0);
            }
    }
    return error;
}

/* energy_mj grows by energy_step_mj per call. */
int nvmlDeviceGetTotalEnergyConsumption(device gpu, u64 *out) {
    u64 step = 0;
    int error = number("nvmlDeviceGetTotalEnergyConsumption", of(gpu), "energy_mj", out);
    if (!error && number("nvmlDeviceGetTotalEnergyConsumption", of(gpu), "energy_step_mj", &step) == SUCCESS)
        *out += step * energy_calls[of(gpu)]++;
    return error;
}

int nvmlDeviceGetTemperature(device gpu, unsigned sensor, unsigned *out) {
    if (sensor != 0) return INVALID_ARGUMENT;
    return small("nvmlDeviceGetTemperature", of(gpu), "temperature", out);
}

int nvmlDeviceGetClockInfo(device gpu, unsigned clock, unsigned *out) {
    if (clock != 1 && clock != 2) return INVALID_ARGUMENT;
    return small("nvmlDeviceGetClockInfo", of(gpu), clock == 1 ? "sm_clock" : "memory_clock", out);
}

int nvmlDeviceGetMaxClockInfo(device gpu, unsigned clock, unsigned *out) {
    if (clock != 1) return INVALID_ARGUMENT;
    return small("nvmlDeviceGetMaxClockInfo", of(gpu), "sm_clock_max", out);
}

int nvmlDeviceGetApplicationsClock(device gpu, unsigned clock, unsigned *out) {
    if (clock != 0 && clock != 2) return INVALID_ARGUMENT; /* graphics, memory */
    return small("nvmlDeviceGetApplicationsClock", of(gpu), clock ? "application_memory_clock" : "application_clock",
                 out);
}

struct utilization { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(device gpu, struct utilization *out) {
    out->memory = 0;
    return small("nvmlDeviceGetUtilizationRates", of(gpu), "utilization", &out->gpu);
}

static int throttle(const char *function, device gpu, u64 *out) {
    char value[VALUE];
    int error = text(function, of(gpu), "throttle_reasons", value, sizeof value);
    if (error) return error;
    unsigned wanted = throttle_calls[of(gpu)]++;
    char *word = strtok(value, " ");
    for (char *next; wanted && (next = strtok(NULL, " ")); wanted--) word = next;
    *out = strtoull(word, NULL, 0);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device gpu, u64 *out) {
    return throttle("nvmlDeviceGetCurrentClocksThrottleReasons", gpu, out);
}

#ifndef OLD_DRIVER
int nvmlDeviceGetCurrentClocksEventReasons(device gpu, u64 *out) {
    return throttle("nvmlDeviceGetCurrentClocksEventReasons", gpu, out);
}
#endif
