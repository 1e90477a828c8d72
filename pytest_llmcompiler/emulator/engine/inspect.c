/* Misuse that the result of a run does not show: accesses below the red zone. */
#include "engine.h"

bool inspect(Engine *engine) { return false; }
